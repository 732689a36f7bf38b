#!/usr/bin/env bash
# A node loses its disk and returns from nothing but its key, by what the others have.
. "$(dirname "$0")/lib.sh"

say "killing azure and removing its store"
docker kill "$(container azure)" >/dev/null
compose run --rm --no-deps files testnet files --dir /network --lose azure-1 >"$log" 2>&1 || { cat "$log" >&2; exit 3; }
expect "it is dead" silence --api "$(api azure)" --within 20s
expect "the others go on, never long without a commit" commits --api "$(api aws gcp hetzner)" --for 5s --within 5s
trades "an order becomes final without it" gcp

say "starting it with --recover"
HOLDFAST_RECOVER=true compose up -d --no-deps azure >"$log" 2>&1 || { cat "$log" >&2; exit 3; }
expect "it has everything again" together --api "$(api aws gcp azure hetzner)" --within 120s
trades "an order given to it becomes final" azure
expect "one order of commits, one state" same --api "$(api aws gcp azure hetzner)" --within 60s
finish
