package testkit

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Usage is what a run of a program cost.
type Usage struct {
	Took, CPU time.Duration
	MaxRSS    int64 // bytes
	Code      int   // its exit code
}

// Measured is the command that runs another and writes its Usage to a file. A
// process counts the memory of the one that started it, up to its exec, as its
// own: so one starts it that has little.
func Measured(file string, args ...string) *exec.Cmd {
	return exec.Command("/proc/self/exe", append([]string{wordMeasure, file}, args...)...)
}

// ReadUsage reads what Measured wrote.
func ReadUsage(file string) (Usage, error) {
	var used Usage
	text, err := os.ReadFile(file)
	if err != nil {
		return used, err
	}
	return used, json.Unmarshal(text, &used)
}

func runMeasure(args []string) error {
	if len(args) < 2 {
		return errors.New("want a file and a command")
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	st := cmd.ProcessState
	used := Usage{Took: took, CPU: st.UserTime() + st.SystemTime(), MaxRSS: st.SysUsage().(*syscall.Rusage).Maxrss << 10, Code: st.ExitCode()}
	text, err := json.Marshal(used)
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], text, 0o600)
}
