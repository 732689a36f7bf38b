#!/usr/bin/env bash
# A provider is cut off for longer than any library remembers a peer: six minutes, or
# LONG_SECONDS.
. "$(dirname "$0")/lib.sh"

say "cutting hetzner off for $long s"
for other in aws gcp azure; do cut "$other" hetzner; done
expect "inside says that it sees no quorum" no-quorum --api "$(api hetzner)" --within 20s
expect "outside goes on, never long without a commit" commits --api "$(api aws gcp azure)" --for "${long}s" --within 5s
trades "outside, an order becomes final" azure

say "healing"
for other in aws gcp azure; do mend "$other" hetzner; done
expect "after healing all are together" together --api "$(api aws gcp azure hetzner)" --within 120s
trades "inside, an order becomes final again" hetzner
expect "one order of commits, one state" same --api "$(api aws gcp azure hetzner)" --within 60s
finish
