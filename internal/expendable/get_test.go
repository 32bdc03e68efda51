package expendable

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// wordServe, as first argument, makes this program a server in the network
// namespace it was started in.
const wordServe = "test-serve"

func serveAlone() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "alone") }))
}

func TestGet(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/far":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/long":
			fmt.Fprint(w, strings.Repeat("x", 3*getLimit))
		case "/no":
			http.Error(w, "internal server error: sync Loop took longer than expected", http.StatusInternalServerError)
		default:
			fmt.Fprint(w, "ok")
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer mute.Close() // the kernel takes connections, nobody answers them
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	gone.Close()
	for url, want := range map[string]string{
		plain.URL:                                   "200 ok",
		secure.URL + "/healthz":                     "200 ok",
		plain.URL + "/no":                           "500 internal server error: sync Loop took longer than expected\n",
		plain.URL + "/far":                          "302 ",
		plain.URL + "/long":                         "200 " + strings.Repeat("x", getLimit),
		"http://" + mute.Addr().String():            "no answer within 1s",
		"https://" + mute.Addr().String():           "no answer within 1s",
		"http://" + gone.Addr().String():            "refused",
		"http://localhost:1/":                       "not http or https to an address",
		"file:///etc/passwd":                        "not http or https to an address",
		"http://127.0.0.1/":                         "not http or https to an address",
		"https://" + plain.Listener.Addr().String(): "HTTP response to HTTPS client",
	} {
		a := ask(t, Request{Op: OpGet, PID: os.Getpid(), URL: url})[0]
		got := fmt.Sprintf("%d %s", a.Code, a.Data)
		if a.Err != "" {
			got = a.Err
		}
		if a.Err == "" && !strings.HasPrefix(got, want) || !strings.Contains(got, want) {
			t.Errorf("%s: %.200s, want %.200s", url, got, want)
		}
		if a.Truncated != strings.HasSuffix(url, "/long") {
			t.Errorf("%s: truncated %v", url, a.Truncated)
		}
	}
}

// TestGetElsewhere asks a server that only another network namespace sees.
func TestGetElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	cmd := exec.Command("/proc/self/exe", wordServe)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	at, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	url := "http://" + strings.TrimSpace(at)
	a := ask(t, Request{Op: OpGet, PID: os.Getpid(), URL: url},
		Request{Op: OpGet, PID: cmd.Process.Pid, URL: url}, Request{Op: OpGet, PID: os.Getpid(), URL: url})
	if string(a[1].Data) != "alone" || a[1].Err != "" {
		t.Errorf("there: %+v", a[1])
	}
	for _, i := range []int{0, 2} {
		if !strings.Contains(a[i].Err, "refused") {
			t.Errorf("here: %+v", a[i])
		}
	}
}
