package localcluster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// AddressMode is how pods and Services are told apart on this machine.
type AddressMode string

const (
	// AddressesOwn gives every pod and every Service a loopback address of its own, so that they have their real
	// ports. It needs a system where all of 127.0.0.0/8 is local.
	AddressesOwn AddressMode = "loopback"
	// AddressesShared gives every port of pods and Services a local port on 127.0.0.1.
	AddressesShared AddressMode = "shared"
)

// Check tells whether the mode is one that exists, or empty.
func (m AddressMode) Check() error {
	switch m {
	case "", AddressesOwn, AddressesShared:
		return nil
	}
	return fmt.Errorf("address mode %q: expected %s or %s", string(m), AddressesOwn, AddressesShared)
}

// defaultMode is what this system can do.
func defaultMode() AddressMode {
	if runtime.GOOS == "linux" || runtime.GOOS == "windows" {
		return AddressesOwn
	}
	return AddressesShared
}

const (
	firstNetwork = 64
	lastNetwork  = 254
	apiPort      = 6443
)

// network is the part of the loopback network that a cluster owns.
type network struct {
	mode AddressMode
	// number is the N of 127.N.0.0/16, in mode loopback.
	number byte
	// api is where the API server listens.
	api netip.AddrPort
}

// services is the range of cluster IPs.
func (n network) services() netip.Prefix {
	if n.mode == AddressesShared {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 32)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, n.number, 1, 0}), 24)
}

func ownNetwork(number byte) network {
	return network{mode: AddressesOwn, number: number, api: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, number, 0, 1}), apiPort)}
}

func sharedNetwork(port uint16) network {
	return network{mode: AddressesShared, api: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
}

// chooseNetwork finds the network of a cluster: the one that it had before, else the first that is free, and remembers
// it in the state directory. Whether it is free is told by whether the API server's address is. Without a mode the
// cluster keeps the one it had, and a new one gets what the system can do.
func chooseNetwork(stateDir string, mode AddressMode) (network, error) {
	path := filepath.Join(stateDir, networkFile)
	before, err := readNetwork(path)
	if err != nil {
		return network{}, err
	}
	if mode == "" {
		mode = cmp.Or(before.mode, defaultMode())
	}
	var candidates []network
	if before.mode == mode {
		candidates = append(candidates, before)
	}
	switch mode {
	case AddressesOwn:
		for n := firstNetwork; n <= lastNetwork; n++ {
			candidates = append(candidates, ownNetwork(byte(n)))
		}
	case AddressesShared:
		// Not 6443: other clusters of this machine publish theirs there.
		candidates = append(candidates, sharedNetwork(0))
	default:
		return network{}, mode.Check()
	}
	var failed error
	for _, n := range candidates {
		if n.api, failed = bindable(n.api); failed != nil {
			continue
		}
		if err := os.WriteFile(path, []byte(n.api.String()+"\n"), 0o600); err != nil {
			return network{}, fmt.Errorf("remember the network: %w", err)
		}
		return n, nil
	}
	if mode == AddressesShared {
		return network{}, fmt.Errorf("no free port on 127.0.0.1 for the API server: %w", failed)
	}
	return network{}, fmt.Errorf("no free network from 127.%d.0.0/16 to 127.%d.0.0/16: %w", firstNetwork, lastNetwork, failed)
}

// readNetwork reads what an earlier run remembered; the zero network if there is nothing that makes sense.
func readNetwork(path string) (network, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return network{}, nil
	}
	if err != nil {
		return network{}, fmt.Errorf("read the network of the last run: %w", err)
	}
	api, err := netip.ParseAddrPort(strings.TrimSpace(string(b)))
	if makesNoSense := err != nil || !api.Addr().Is4(); makesNoSense {
		return network{}, nil
	}
	if ip := api.Addr().As4(); ip[0] == 127 && ip[1] != 0 {
		return ownNetwork(ip[1]), nil
	}
	return sharedNetwork(api.Port()), nil
}

// bindable tells whether one can listen on address, and where that is if its port is 0.
func bindable(address netip.AddrPort) (netip.AddrPort, error) {
	l, err := net.Listen("tcp", address.String())
	if err != nil {
		return address, err
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	return at, l.Close()
}
