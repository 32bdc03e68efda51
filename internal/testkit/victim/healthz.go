package victim

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// healthAfter is how long the real sync loop must be silent before it is said
// to have failed.
const healthAfter = 5 * time.Minute

// serveHealthz answers at the read-only port as the real kubelet does: what it
// knows of its sync loop is when that last began a round.
func (k *kubelet) serveHealthz(port string) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	k.round.Store(time.Now().UnixNano())
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz/syncloop", func(w http.ResponseWriter, _ *http.Request) {
		if time.Since(time.Unix(0, k.round.Load())) > healthAfter {
			http.Error(w, "internal server error: sync Loop took longer than expected", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "ok")
	})
	go func() { _ = http.Serve(l, mux) }() // ends with the process
	return nil
}
