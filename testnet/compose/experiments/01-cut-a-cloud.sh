#!/usr/bin/env bash
# One of four providers is cut off from the others, then healed.
. "$(dirname "$0")/lib.sh"

say "cutting aws off from gcp, azure and hetzner"
for other in gcp azure hetzner; do cut aws "$other"; done

expect "inside says that it sees no quorum" no-quorum --api "$(api aws)" --within 20s
expect "outside goes on, never long without a commit" commits --api "$(api gcp azure hetzner)" --for 10s --within 5s
trades "outside, an order becomes final" gcp
expect "inside commits nothing alone" no-commits --api "$(api aws)" --for 3s

say "healing"
for other in gcp azure hetzner; do mend aws "$other"; done
expect "after healing all are together" together --api "$(api aws gcp azure hetzner)" --within 60s
expect "one order of commits, one state" same --api "$(api aws gcp azure hetzner)" --within 60s
finish
