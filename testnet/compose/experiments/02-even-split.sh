#!/usr/bin/env bash
# Two providers against two: no side has a quorum, so nothing may commit.
. "$(dirname "$0")/lib.sh"

say "cutting aws and gcp off from azure and hetzner"
for a in aws gcp; do for b in azure hetzner; do cut "$a" "$b"; done; done

expect "one side says that it sees no quorum" no-quorum --api "$(api aws gcp)" --within 20s
expect "the other side says so too" no-quorum --api "$(api azure hetzner)" --within 20s
expect "nothing commits on either side" no-commits --api "$(api aws gcp azure hetzner)" --for 5s

say "healing"
for a in aws gcp; do for b in azure hetzner; do mend "$a" "$b"; done; done
expect "after healing all are together" together --api "$(api aws gcp azure hetzner)" --within 60s
trades "an order becomes final again" azure
expect "one order of commits, one state" same --api "$(api aws gcp azure hetzner)" --within 60s
finish
