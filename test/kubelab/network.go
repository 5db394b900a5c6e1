package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// makeBridge joins this machine and those of the lab.
func makeBridge(ctx context.Context) error {
	if exists("/sys/class/net/" + bridge) {
		return nil
	}
	for _, args := range []string{
		"link add " + bridge + " type bridge",
		"addr add " + hostIP + "/24 dev " + bridge,
		"link set " + bridge + " up",
		"route add " + serviceNet + " via " + clientsIP,
	} {
		if err := quiet(ctx, "", "ip", strings.Fields(args)...); err != nil {
			return fmt.Errorf("make the network of the lab: %w", err)
		}
	}
	return nil
}

// removeBridge takes the routes of this machine with it.
func removeBridge(ctx context.Context) error {
	if !exists("/sys/class/net/" + bridge) {
		return nil
	}
	if err := quiet(ctx, "", "ip", "link", "del", bridge); err != nil {
		return fmt.Errorf("remove the network of the lab: %w", err)
	}
	return nil
}

func cable(machine string) string { return "kubelab-" + machine }

// plugIn connects a machine to the bridge, and routes its pods to it.
func (l *lab) plugIn(ctx context.Context, s spec, pid int) error {
	commands := []string{
		"link add " + cable(s.Name) + " type veth peer name eth0 netns " + strconv.Itoa(pid),
		"link set " + cable(s.Name) + " master " + bridge + " up",
	}
	if s.Node > 0 {
		commands = append(commands, "route replace "+podSubnet(s.Node)+" via "+s.IP)
	}
	for _, args := range commands {
		if err := quiet(ctx, "", "ip", strings.Fields(args)...); err != nil {
			return fmt.Errorf("connect %s: %w", s.Name, err)
		}
	}
	return nil
}

// unplug removes what plugIn made, if the death of the machine did not.
func (l *lab) unplug(ctx context.Context, machine string) {
	if exists("/sys/class/net/" + cable(machine)) {
		_ = quiet(ctx, "", "ip", "link", "del", cable(machine))
	}
}

// partition makes every machine of one side deaf for all of the other. Each call replaces what an earlier one cut. Who is
// on no side reaches both.
func (l *lab) partition(ctx context.Context, a, b []string) error {
	if err := l.heal(ctx); err != nil {
		return err
	}
	for _, sides := range [][2][]string{{a, b}, {b, a}} {
		var from []string
		for _, machine := range sides[1] {
			for _, p := range addressesOf(machine) {
				from = append(from, p.String())
			}
		}
		rules := fmt.Sprintf(`table ip kubelab {
	chain cut {
		type filter hook prerouting priority raw; policy accept;
		ip saddr { %s } drop
	}
}
`, strings.Join(from, ", "))
		for _, machine := range sides[0] {
			if machine == "host" {
				continue // this machine's own firewall stays empty: the others do not hear it, which cuts as well
			}
			if err := l.nft(ctx, machine, rules); err != nil {
				return err
			}
		}
	}
	return nil
}

// heal makes all machines hear each other again.
func (l *lab) heal(ctx context.Context) error {
	for _, machine := range l.machines() {
		if l.processOf(machine) == 0 {
			continue
		}
		// Adding the table first makes its removal succeed where there is none.
		if err := l.nft(ctx, machine, "add table ip kubelab\ndelete table ip kubelab\n"); err != nil {
			return err
		}
	}
	return nil
}

// nft applies rules in the network of a machine.
func (l *lab) nft(ctx context.Context, machine, rules string) error {
	pid := l.processOf(machine)
	if pid == 0 {
		return fmt.Errorf("%s is off", machine)
	}
	if err := quiet(ctx, rules, "nsenter", "-t", strconv.Itoa(pid), "-n", "nft", "-f", "-"); err != nil {
		return fmt.Errorf("change the network of %s: %w", machine, err)
	}
	return nil
}

// isCut tells whether a partition is in force at a machine.
func (l *lab) isCut(ctx context.Context, machine string) bool {
	pid := l.processOf(machine)
	return pid > 0 && quiet(ctx, "", "nsenter", "-t", strconv.Itoa(pid), "-n", "nft", "list", "table", "ip", "kubelab") == nil
}

// machines are all that were made, running or not.
func (l *lab) machines() []string {
	var all []string
	for _, m := range []string{control, clients} {
		if exists(filepath.Join(l.dir(m), specFile)) {
			all = append(all, m)
		}
	}
	for _, i := range l.nodes() {
		all = append(all, nodeName(i))
	}
	return all
}
