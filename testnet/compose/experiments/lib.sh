# What the experiments share. Each begins with
#
#   . "$(dirname "$0")/lib.sh"
#
# and has then a network that is up and trades, and that is gone when the script ends,
# however it ends. Needs docker and one of the two compose commands; nothing else.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project=${COMPOSE_PROJECT_NAME:-holdfast-experiment}
long=${LONG_SECONDS:-360} # of the long night

if docker compose version >/dev/null 2>&1; then
	compose() { docker compose --project-name "$project" --file "$here/compose.yaml" "$@"; }
elif command -v docker-compose >/dev/null; then
	compose() { docker-compose --project-name "$project" --file "$here/compose.yaml" "$@"; }
else
	echo "Neither 'docker compose' nor 'docker-compose' is here: install one of them." >&2
	exit 3
fi

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
container() { compose ps -a -q "$1" | head -n1; }

# api PROVIDER...: the addresses of their nodes' APIs as the load's container sees them.
api() {
	local list
	list=$(printf 'http://%s:8080,' "$@")
	echo "${list%,}"
}

# ask ARGUMENT...: holdfast, in the container that the load is in, which reaches every API.
ask() { docker exec "$client" /holdfast "$@"; }

# link PROVIDER PROVIDER: the name of the network between two.
link() {
	local order=(aws gcp azure hetzner) one
	for one in "${order[@]}"; do
		case $one in
		"$1") echo "${project}_$1-$2"; return ;;
		"$2") echo "${project}_$2-$1"; return ;;
		esac
	done
}

# cut A B and mend A B: the link between two providers. The address a container gets back
# is the one it had: the others know it by that.
declare -A address
cut() {
	local net one id
	net=$(link "$1" "$2")
	for one in "$1" "$2"; do
		id=$(container "$one")
		address[$net/$one]=$(docker inspect --format "{{with index .NetworkSettings.Networks \"$net\"}}{{.IPAMConfig.IPv4Address}}{{end}}" "$id")
		docker network disconnect "$net" "$id"
	done
}
mend() {
	local net one
	net=$(link "$1" "$2")
	for one in "$1" "$2"; do
		docker network connect --ip "${address[$net/$one]}" --alias "$one" "$net" "$(container "$one")"
	done
}

# The verdict: a line for each thing that should be so, found out by asking the nodes.
verdict=()
broken=0
note() { # note OUTCOME WHAT SAW
	verdict+=("$(printf '%-5s %-52s %s' "$1" "$2" "$3")")
	[ "$1" = ok ] || broken=1
}
# expect WHAT-FOR-PEOPLE EXPECTATION ARGUMENT...: see "holdfast testnet expect --help".
expect() {
	local what=$1 saw
	shift
	if saw=$(ask testnet expect "$@" 2>&1); then note ok "$what" "$saw"; else note FAIL "$what" "${saw//$'\n'/; }"; fi
}
# trades WHAT-FOR-PEOPLE PROVIDER: an order that is given to a node there becomes final.
trades() {
	local saw
	if saw=$(ask order place BTC-USDT buy 0.001 --at 50000.00 --wallet faucet --api "$(api "$2")" --json 2>&1); then
		note ok "$1" "at $2"
	else
		note FAIL "$1" "at $2: ${saw//$'\n'/; }"
	fi
}
# finish: prints the verdict; the exit code is 0 if all of it is as it should be, else 1.
finish() {
	echo
	printf '%s\n' "${verdict[@]}"
	exit "$broken"
}

# The network goes with the script: its containers, networks and volumes.
take_down() {
	local code=$?
	trap - EXIT
	trap '' INT TERM # once more would leave something behind
	say "taking everything down"
	local beside
	for beside in $(jobs -p); do kill "$beside" 2>/dev/null || true; done
	wait
	compose down --volumes --remove-orphans --timeout 10 >"$log" 2>&1 || { cat "$log" >&2; code=3; }
	rm -f "$log"
	exit "$code"
}
log=$(mktemp)
trap take_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "starting four providers, a node each, and a load"
compose up -d >"$log" 2>&1 || { cat "$log" >&2; exit 3; }
client=$(container load)
wait=${START_SECONDS:-120}
ask testnet expect quorum --api "$(api aws gcp azure hetzner)" --within "${wait}s" || { echo "the network did not come up within $wait s" >&2; exit 3; }
