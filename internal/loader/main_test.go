package loader

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// wordCrowd makes this program block many threads of its own.
const wordCrowd = "hidden-crowd"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == wordCrowd {
		crowd(os.Args[2], os.Args[3])
	}
	testkit.Main(m)
}

// crowd starts as many threads as text says, each of which prints its thread
// ID and then asks for path.
func crowd(text, path string) {
	n, err := strconv.Atoi(text)
	if err != nil {
		os.Exit(2)
	}
	for range n {
		go func() {
			runtime.LockOSThread()
			fmt.Println(unix.Gettid())
			unix.Stat(path, new(unix.Stat_t))
		}()
	}
	select {}
}
