#!/usr/bin/env bash
# The machines of a provider lose power, and come back.
. "$(dirname "$0")/lib.sh"

# Not gcp: the load is asked of it first, and ends with it while it prepares.
say "killing azure"
docker kill "$(container azure)" >/dev/null
expect "it is dead" silence --api "$(api azure)" --within 20s
expect "the others go on, never long without a commit" commits --api "$(api aws gcp hetzner)" --for 10s --within 5s
trades "an order becomes final without it" aws

say "starting it again"
docker start "$(container azure)" >/dev/null
expect "it is back with what it missed" together --api "$(api aws gcp azure hetzner)" --within 90s
trades "an order given to it becomes final" azure
expect "one order of commits, one state" same --api "$(api aws gcp azure hetzner)" --within 60s
finish
