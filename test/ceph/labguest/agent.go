package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// The wire: the client sends a script and closes its half; the agent answers
// with frames of one kind byte, a big-endian uint32 length, and data, and ends
// with an exit frame. A connection that ends without one is a dead guest.
const (
	frameOut  = 'o'
	frameErr  = 'e'
	frameExit = 'x' // data: the status as one byte
	maxFrame  = 1 << 20
)

// serve runs each connection's script in a shell of its own session. A script
// that hangs blocks only its own connection.
func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer c.Close()
			answer(c)
		}()
	}
}

func answer(c io.ReadWriter) {
	script, err := io.ReadAll(c)
	if err != nil {
		return
	}
	var mu sync.Mutex
	cmd := exec.Command("/bin/sh", "-c", string(script))
	cmd.Stdout = &frameWriter{w: c, mu: &mu, kind: frameOut}
	cmd.Stderr = &frameWriter{w: c, mu: &mu, kind: frameErr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A background child that kept the pipes must not hold the answer back.
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	code := cmd.ProcessState.ExitCode()
	if err != nil && code <= 0 && !errors.Is(err, exec.ErrWaitDelay) {
		code = 125
	}
	exit := frameWriter{w: c, mu: &mu, kind: frameExit}
	exit.Write([]byte{byte(code)})
}

type frameWriter struct {
	w    io.Writer
	mu   *sync.Mutex
	kind byte
}

func (f *frameWriter) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxFrame)
		head := binary.BigEndian.AppendUint32([]byte{f.kind}, uint32(n))
		if _, err := f.w.Write(append(head, rest[:n]...)); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// runScript sends a script to the agent and copies what it writes.
func runScript(addr string, script io.Reader, stdout, stderr io.Writer) (int, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return 125, fmt.Errorf("guest: %w", err)
	}
	defer c.Close()
	if _, err := io.Copy(c, script); err != nil {
		return 125, fmt.Errorf("send script: %w", err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return 125, fmt.Errorf("send script: %w", err)
	}
	return copyFrames(c, stdout, stderr)
}

func copyFrames(r io.Reader, stdout, stderr io.Writer) (int, error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 125, fmt.Errorf("guest ended the connection before the script ended: %w", err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n > maxFrame {
			return 125, fmt.Errorf("frame of %d bytes", n)
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return 125, fmt.Errorf("short frame: %w", err)
		}
		switch {
		case head[0] == frameOut:
			stdout.Write(data)
		case head[0] == frameErr:
			stderr.Write(data)
		case head[0] == frameExit && n == 1:
			return int(data[0]), nil
		default:
			return 125, fmt.Errorf("unknown frame %q", head[0])
		}
	}
}
