package p2p

import (
	"context"
	"errors"
	"net"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"
)

// suppliedSocket makes QUIC listen on sockets of the caller's making. Replacing
// the library's constructor also replaces its accounting of inbound
// connections, which is therefore repeated here.
func suppliedSocket(c Config) fx.Option {
	source := listenedSource(c.Listen)
	return fx.Provide(
		func(reset quic.StatelessResetKey, token quic.TokenGeneratorKey, resources network.ResourceManager, life fx.Lifecycle) (*quicreuse.ConnManager, error) {
			manager, err := quicreuse.NewConnManager(reset, token,
				quicreuse.OverrideListenUDP(c.ListenUDP),
				quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return source, nil }),
				quicreuse.VerifySourceAddress(resources.VerifySourceAddress),
				quicreuse.ConnContext(func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
					addr, err := quicreuse.ToQuicMultiaddr(info.RemoteAddr, quic.Version1)
					if err != nil {
						addr = nil // the resource manager decides
					}
					scope, err := resources.OpenConnection(network.DirInbound, false, addr)
					if err != nil {
						return ctx, err
					}
					ctx = network.WithConnManagementScope(ctx, scope)
					context.AfterFunc(ctx, scope.Done)
					return ctx, nil
				}),
			)
			if err != nil {
				return nil, err
			}
			life.Append(fx.StopHook(manager.Close))
			return manager, nil
		})
}

// listenedSource dials from an address that is listened on. The library would
// ask the kernel's routes, which know nothing of a supplied socket.
type listenedSource []string

func (l listenedSource) PreferredSourceIPForDestination(to *net.UDPAddr) (net.IP, error) {
	var ips []net.IP
	for _, s := range l {
		m, err := ma.NewMultiaddr(s)
		if err != nil {
			continue
		}
		if _, err := m.ValueForProtocol(ma.P_QUIC_V1); err != nil {
			continue
		}
		ip, err := manet.ToIP(m)
		if err == nil && (ip.To4() != nil) == (to.IP.To4() != nil) {
			ips = append(ips, ip)
		}
	}
	if i := slices.IndexFunc(ips, func(ip net.IP) bool { return ip.IsLoopback() == to.IP.IsLoopback() }); i >= 0 {
		return ips[i], nil
	}
	return nil, errors.New("no listened address of this family")
}
