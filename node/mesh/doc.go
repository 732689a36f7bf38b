// Package mesh finds and reaches services by name over the peer-to-peer network:
// signed records, health, choice, proxies and DNS.
//
// A node opens a mesh on its host, hands it the questions that are its own, and
// runs it:
//
//	hostConfig.Records = map[string]p2p.RecordRules{mesh.Namespace: mesh.Rules(network)}
//	...
//	m, err := mesh.Open(config)
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	return m.Run(ctx)
//
// Whoever has a service registers it, whoever wants one dials it:
//
//	err := m.Register(mesh.Service{Name: "pricefeed", To: "127.0.0.1:8080", Check: "http:/healthz"})
//	conn, record, err := m.Dial(ctx, "pricefeed")
//
// # How records travel
//
// A record is what an owner says of its instance: where, in which state, until
// when it may be believed without another word. It is signed by the owner's peer
// key. Changes and beats go by gossip; peers that meet ask each other what gossip
// has missed; who knows nobody that knows a name finds its owners in the DHT; and
// the last good sets are on disk.
//
// # Rules
//
// Each has a test that tries to break it, and fails when the rule is switched off.
//
//	R1   A store compares at the moment of writing: (owner, epoch, seq) must be
//	     greater than what it holds then. A check made earlier counts for nothing.
//	R2   A new process of an owner takes a new epoch; a lower one loses, whatever
//	     its seq.
//	R3   Records hold their content by value.
//	R4   Only a signed tombstone of higher sequence deletes. Not found never
//	     replaces found.
//	R5   If more than half of what was live falls silent together, or all of it,
//	     the answer is the last known good one, marked stale.
//	R6   The last good sets are on disk, and served, with their age, when nothing
//	     newer verifies.
//	R7   From every state of the disk the node starts, and repairs it.
//	R8   Two records with one stamp are kept as proof; that instance is quarantined.
//	R9   Suspect is not gone: a ttl has at least four beats, and nobody deletes by
//	     his own clock.
//	R10  Start, resolve and proxy work with every bootstrap node and any provider
//	     gone.
//	R11  Recovery is damped: jitter, a budget of a fifth for retries, at most a
//	     third ejected and never the last, and traffic that returns gradually.
package mesh
