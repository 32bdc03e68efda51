package expendable

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// getMost bounds one question: a server of this machine answers at once, or
	// it hangs itself.
	getMost  = time.Second
	getLimit = 4 << 10
)

// get asks an HTTP server at an address of the machine, as a process sees the
// network.
func (c child) get(req Request, _ func(Answer)) (Answer, error) {
	u, err := url.Parse(req.URL)
	if err != nil {
		return Answer{}, err
	}
	// A name would be looked up, which may ask anybody.
	to, err := netip.ParseAddrPort(u.Host)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return Answer{}, fmt.Errorf("ask %s: not http or https to an address and a port", req.URL)
	}
	ctx, cancel := context.WithTimeout(context.Background(), getMost)
	defer cancel()
	conn, err := c.dial(ctx, req.PID, to)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	client := http.Client{
		Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
			// The server's certificate is its own. Nothing secret is sent, and
			// what it answers is told as what it says.
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, req.URL, nil)
	if err != nil {
		return Answer{}, err
	}
	resp, err := client.Do(ask)
	if err != nil {
		return Answer{}, silent(err, req.URL)
	}
	defer resp.Body.Close()
	body, more, err := readUpTo(io.Reader(resp.Body), getLimit)
	if err != nil {
		return Answer{}, silent(err, req.URL)
	}
	return Answer{Code: resp.StatusCode, Data: body, Truncated: more}, nil
}

// silent says of a server that took the question and gave no answer.
func silent(err error, url string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("ask %s: no answer within %s", url, getMost)
	}
	return err
}

// dial connects from the network namespace of a process. The thread that went
// there cannot be used for anything else, and ends with its goroutine.
func (c child) dial(ctx context.Context, pid int, to netip.AddrPort) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		if err := c.enterNetwork(pid); err != nil {
			done <- result{err: err}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// enterNetwork moves the calling thread to a process's network namespace,
// unless it is there already.
func (c child) enterNetwork(pid int) error {
	own, err := os.Readlink(c.proc + "/thread-self/ns/net")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(c.dir(pid) + "/ns/net")
	if err != nil || own == theirs {
		return err
	}
	f, err := os.Open(c.dir(pid) + "/ns/net")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace of process %d: %w", pid, err)
	}
	return nil
}
