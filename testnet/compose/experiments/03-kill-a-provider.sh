#!/usr/bin/env bash
# The machines of a provider lose power, and come back.
. "$(dirname "$0")/lib.sh"

say "killing gcp"
docker kill "$(container gcp)" >/dev/null
expect "it is dead" silence --api "$(api gcp)" --within 20s
expect "the others go on, never long without a commit" commits --api "$(api aws azure hetzner)" --for 10s --within 5s
trades "an order becomes final without it" aws

say "starting it again"
docker start "$(container gcp)" >/dev/null
expect "it is back with what it missed" together --api "$(api aws gcp azure hetzner)" --within 90s
trades "an order given to it becomes final" gcp
expect "one order of commits, one state" same --api "$(api aws gcp azure hetzner)" --within 60s
finish
