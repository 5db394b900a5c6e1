package process

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Reaper is a second process, in a session of its own, that knows every tree this one started and kills them all
// when this one dies without closing it. The same knowledge is kept in a file for KillLeftovers, should both die.
type Reaper struct {
	command func() *exec.Cmd
	stop    chan struct{}
	ended   sync.WaitGroup

	mu     sync.Mutex
	groups map[int]string
	file   *os.File
	lines  int      // in file
	pid    int      // of the reaper's process
	pipe   *os.File // to the reaper's process; nil where none is needed
}

// maxLedgerLines is when the ledger file is written anew.
const maxLedgerLines = 4096

// tellTime bounds a write to the reaper's process.
const tellTime = time.Second

// StartReaper starts executable with args, which has to call ReaperMain, and keeps its ledger in the file path,
// whose former content is dropped: call KillLeftovers before. Where the system kills trees by itself (Windows) no
// process is started.
func StartReaper(path, executable string, args ...string) (*Reaper, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write the list of running processes: %w", err)
	}
	r := &Reaper{file: file, groups: map[int]string{}, stop: make(chan struct{})}
	r.command = func() *exec.Cmd {
		cmd := exec.Command(executable, args...)
		cmd.SysProcAttr = ownSession()
		return cmd
	}
	if !reaperNeeded {
		return r, nil
	}
	cmd, err := r.start()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	r.ended.Go(func() { r.keep(cmd) })
	return r, nil
}

// Close says goodbye: what still runs is not killed. It returns when the reaper's process has ended.
func (r *Reaper) Close() error {
	close(r.stop)
	r.mu.Lock()
	r.write(lineBye)
	if r.pipe != nil {
		_ = r.pipe.Close()
	}
	err := r.file.Close()
	r.mu.Unlock()
	r.ended.Wait()
	return err
}

// keep waits for the reaper's process, and starts another should it die before Close.
func (r *Reaper) keep(cmd *exec.Cmd) {
	var wait time.Duration
	for {
		begin := time.Now()
		if cmd != nil {
			_ = cmd.Wait()
		}
		wait = DefaultBackoff.Next(wait, time.Since(begin))
		select {
		case <-r.stop:
			return
		case <-time.After(wait):
		}
		cmd, _ = r.start() // nil when it failed: tried again after the wait
	}
}

// start starts the reaper's process and tells it all.
func (r *Reaper) start() (*exec.Cmd, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cmd := r.command()
	in, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the reaper %s: %w", cmd.Path, err)
	}
	cmd.Stdin = in
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return nil, fmt.Errorf("start the reaper %s: %w", cmd.Path, err)
	}
	if r.pipe != nil {
		_ = r.pipe.Close()
	}
	r.pipe, r.pid = out, cmd.Process.Pid
	for group, id := range r.groups {
		r.tell(fmt.Sprintf(lineStarted, group, id))
	}
	select {
	case <-r.stop: // closed meanwhile
		r.tell(lineBye)
		_ = out.Close()
	default:
	}
	return cmd, nil
}

func (r *Reaper) add(group int) {
	id := identity(group)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[group] = id
	r.write(fmt.Sprintf(lineStarted, group, id))
}

func (r *Reaper) remove(group int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.groups, group)
	r.write(fmt.Sprintf(lineEnded, group))
}

// write tells both. Neither failing stops the work: the pipe's reader is started again and told all, and without
// the file only the case is lost that both processes are killed.
func (r *Reaper) write(line string) {
	r.tell(line)
	_, _ = io.WriteString(r.file, line)
	if r.lines++; r.lines > maxLedgerLines+2*len(r.groups) {
		_ = r.rewrite()
	}
}

// tell writes to the reaper's process, which reads at once unless somebody stopped it.
func (r *Reaper) tell(line string) {
	if r.pipe != nil {
		_ = r.pipe.SetWriteDeadline(time.Now().Add(tellTime))
		_, _ = io.WriteString(r.pipe, line)
	}
}

// rewrite makes the ledger file list only what runs.
func (r *Reaper) rewrite() error {
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for group, id := range r.groups {
		if _, err := fmt.Fprintf(r.file, lineStarted, group, id); err != nil {
			return err
		}
	}
	r.lines = len(r.groups)
	return nil
}

// ReaperMain is the whole of the reaper's process: it reads the ledger from stdin and, when that ends without a
// goodbye, kills what it still lists. It returns how many trees it had to kill.
func ReaperMain(stdin io.Reader) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	groups, bye := readLedger(stdin)
	if bye {
		return 0
	}
	return killAll(groups)
}
