#!/usr/bin/env bash
# A provider's links come and go, ten times.
. "$(dirname "$0")/lib.sh"

say "ten times: cutting hetzner off for two seconds, then healing for two"
(
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		for other in aws gcp azure; do cut "$other" hetzner; done
		sleep 2
		for other in aws gcp azure; do mend "$other" hetzner; done
		sleep 2
	done
) &
flapping=$!
expect "the others go on, never long without a commit" commits --api "$(api aws gcp azure)" --for 40s --within 5s
trades "an order becomes final meanwhile" gcp
wait "$flapping"
say "it is over"
expect "all see a quorum" quorum --api "$(api aws gcp azure hetzner)" --within 60s
expect "all are together" together --api "$(api aws gcp azure hetzner)" --within 60s
trades "an order given to it becomes final" hetzner
expect "one order of commits, one state" same --api "$(api aws gcp azure hetzner)" --within 60s
finish
