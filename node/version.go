package node

// Version is the release's name; a release build sets it with
// -ldflags "-X github.com/holdfast-mesh/holdfast/node.Version=v1.2.3".
var Version = "dev"
