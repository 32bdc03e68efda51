package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// lettersRun traces the program of 272 calls with some letters.
func lettersRun(t *testing.T, s *stage, program string, flags ...string) (*tracer, []string) {
	t.Helper()
	dir := filepath.Join(s.Dir, "work")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	p := s.subject(program, dir)
	tr := s.strace(append(flags, "-p", strconv.Itoa(p.PID))...)
	p.say("go")
	require.NoError(t, p.Wait(patience))
	return tr, tr.lines(exitOK)
}

func names(lines []string) map[string]bool {
	out := make(map[string]bool)
	for _, l := range lines {
		if name, _, ok := strings.Cut(l, "("); ok && !strings.HasPrefix(l, "+++") && !strings.HasPrefix(l, "---") {
			out[name] = true
		}
	}
	return out
}

// TestStraceLetters holds each letter against what it is to do.
func TestStraceLetters(t *testing.T) {
	s := newStage(t)
	program := compiled(t, s.Sandbox, "calls")
	for _, c := range []struct {
		flags string
		check func(t *testing.T, tr *tracer, lines []string)
	}{
		{"-e trace=openat,/^f?stat$", func(t *testing.T, _ *tracer, lines []string) {
			require.Equal(t, map[string]bool{"openat": true, "stat": true, "fstat": true}, names(lines))
		}},
		{"-e %statfs,%fstatfs", func(t *testing.T, _ *tracer, lines []string) {
			require.Equal(t, map[string]bool{"statfs": true, "fstatfs": true}, names(lines))
		}},
		{"-e trace=!%file,%desc,%network,%memory,%signal,%process", func(t *testing.T, _ *tracer, lines []string) {
			got := names(lines)
			require.True(t, got["getpid"] && got["uname"])
			require.False(t, got["openat"] || got["read"] || got["socket"] || got["kill"] || got["wait4"])
		}},
		{"-qqq -Z -e %file", func(t *testing.T, _ *tracer, lines []string) {
			for _, l := range lines {
				require.Contains(t, l, " = -1 E")
			}
		}},
		{"-e signal=none -e status=successful -e trace=close", func(t *testing.T, _ *tracer, lines []string) {
			require.Regexp(t, `^close\(20\) += 0\nclose\(3\) += 0\n\+\+\+`, strings.Join(lines, "\n"))
		}},
		{"-q -q -P file", func(t *testing.T, _ *tracer, lines []string) {
			got := names(lines)
			require.True(t, got["openat"] && got["getxattr"])
			require.False(t, got["getpid"] || got["socket"])
			require.NotContains(t, strings.Join(lines, "\n"), "exited with")
		}},
		{"-tt -T -e getpid", func(t *testing.T, _ *tracer, lines []string) {
			require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{6} getpid\(\) +. \d+ <0\.\d{6}>$`, lines[0])
		}},
		{"-t -e getpid", func(t *testing.T, _ *tracer, lines []string) {
			require.Regexp(t, `^\d\d:\d\d:\d\d getpid\(`, lines[0])
		}},
		{"-ttt -r -e getpid", func(t *testing.T, _ *tracer, lines []string) {
			require.Regexp(t, `^\d{10}\.\d{6} \(\+ +0\.000000\) getpid\(`, lines[0])
		}},
		{"-r -e getpid", func(t *testing.T, _ *tracer, lines []string) {
			require.Regexp(t, `^ +0\.000000 getpid\(`, lines[0])
		}},
		{"-e trace=ipc -e signal=2", func(t *testing.T, _ *tracer, lines []string) {
			got := names(lines)
			require.True(t, got["msgget"] && got["semop"] && got["shmat"], "%v", got)
		}},
		{"-y -e poll,select", func(t *testing.T, _ *tracer, lines []string) { // though nothing tells what was open
			require.Regexp(t, `(?m)^poll\(\[\{fd=6<pipe:\[\d+\]>, events=POLLIN\}\], 1, 1\)`, strings.Join(lines, "\n"))
			require.Regexp(t, `(?m)^select\(8, \[6<pipe:\[\d+\]>\], \[7<pipe:\[\d+\]>\], `, strings.Join(lines, "\n"))
		}},
		{"-e status=unfinished", func(t *testing.T, _ *tracer, lines []string) {
			require.Equal(t, map[string]bool{"exit_group": true}, names(lines))
		}},
		{"-s 5 -a 1 -e write", func(t *testing.T, _ *tracer, lines []string) {
			require.Equal(t, `write(3, "hello"..., 16) = 16`, lines[0])
		}},
		{"-c -S calls -e trace=close,getpid", func(t *testing.T, _ *tracer, lines []string) {
			require.Regexp(t, `^% time +seconds +usecs/call +calls +errors +unreturned +so far \(s\) syscall$`, lines[0])
			require.Regexp(t, ` 3 +1 +close$`, lines[2])
			require.Regexp(t, ` 2 +getpid$`, lines[3])
			require.Regexp(t, ` 5 +1 +total$`, lines[5])
			require.Len(t, lines, 6)
		}},
		{"-C -U calls,name -e trace=getpid", func(t *testing.T, _ *tracer, lines []string) {
			require.Regexp(t, `^getpid\(`, lines[0])
			require.Equal(t, []string{"    calls syscall", "--------- ----------------", "        2 getpid", "--------- ----------------", "        2 total"}, lines[len(lines)-5:])
		}},
		{"-e signal=SIGCHLD -e trace=kill", func(t *testing.T, _ *tracer, lines []string) {
			all := strings.Join(lines, "\n")
			require.Contains(t, all, "--- SIGCHLD {")
			require.NotContains(t, all, "--- SIGUSR2")
		}},
	} {
		t.Run(c.flags, func(t *testing.T) {
			tr, lines := lettersRun(t, s, program, strings.Fields(c.flags)...)
			c.check(t, tr, lines)
		})
	}
}

// TestStraceSeparateFiles gives each thread a file.
func TestStraceSeparateFiles(t *testing.T) {
	s := newStage(t)
	p := s.subject(compiled(t, s.Sandbox, "life"), "fork")
	file := filepath.Join(s.Dir, "each")
	rdy := filepath.Join(s.Dir, "rdy")
	r := start(t, s.Sandbox, "strace", "-ff", "-o", file, "--ready-file", rdy, "-p", strconv.Itoa(p.PID))
	s.until("it is ready", func() bool { _, err := os.Stat(rdy); return err == nil })
	p.say("go")
	require.NoError(t, p.Wait(patience))
	require.Equal(t, exitOK, r.end(t), "%s", &r.stderr)
	parent, err := os.ReadFile(fmt.Sprintf("%s.%d", file, p.PID))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^clone\(.* = (\d+)$`).FindSubmatch(parent)
	require.NotNil(t, m, "%s", parent)
	child, err := os.ReadFile(file + "." + string(m[1]))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^getppid\(\) +. `+strconv.Itoa(p.PID)+`\nexit_group\(3\) +. \?\n\+\+\+ exited with 3 \+\+\+$`, string(child))
	require.Equal(t, 1, strings.Count(string(parent), "resumed"), "but for what was in flight nothing interrupts a line")
}

// TestStraceRefusesWhatItLacks wants one line and exit code 2.
func TestStraceRefusesWhatItLacks(t *testing.T) {
	s := testkit.New(t)
	for args, says := range map[string]string{
		"ls -l":                      "starts no command",
		"-f -- ls":                   "starts no command",
		"-x -p 1":                    "-x is not here",
		"-xx -p 1":                   "-x is not here",
		"-e inject=all:error=EIO":    "inject= is not here",
		"--inject=all:error=EIO":     "--inject is not here",
		"-E A=b -p 1":                "no command is started",
		"-u root -p 1":               "no command is started",
		"-e trace=nonesuch":          `"nonesuch" is unknown`,
		"-e status=maybe":            `"maybe" is unknown`,
		"-e trace=/(":                "regular expression",
		"-S nothingness":             `"nothingness" is unknown`,
		"-U nonesuch":                `"nonesuch" is unknown`,
		"-s x":                       `"x" is no number`,
		"-s 100000":                  "no more than 4095",
		"--ring 0":                   `"0" is no number from 1`,
		"--buffer 3M":                "power of two",
		"--threshold never":          "no duration",
		"-p":                         "needs a value",
		"-j":                         "-j is unknown",
		"--nonesuch":                 "--nonesuch is unknown",
		"-o |cat -p 1":               "output into a command is not here",
		"-i -p 1":                    "-i is not here",
		"-k --seccomp-bpf -p 1":      "--seccomp-bpf is not here",
		"-I 4 -p 1":                  "-I is not here",
		"-e raw=open":                "raw= is not here",
		"--string-limit=-1":          `"-1" is no number`,
		"-c -C -p 1":                 "both cannot be",
		"-e quiet=nope -p 1":         `"nope" is unknown`,
		"-e decode-fds=nope -p 1":    `"nope" is unknown`,
		"-e signal=99 -p 1":          `"99" is unknown`,
		"-ff --output-append-mode":   "is not here",
		"--absolute-timestamps=what": "takes no value",
	} {
		r := tool(t, s, 2, append([]string{"strace"}, strings.Fields(args)...)...)
		said := r.stderr.String()
		require.Contains(t, said, says, args)
		require.Contains(t, said, "; try: ", args)
		require.Equal(t, 1, strings.Count(said, "\n"), "%s: %s", args, said)
		require.Empty(t, r.stdout.String())
	}
}

// TestStraceCountsWhatHangs has a call in flight in columns of its own.
func TestStraceCountsWhatHangs(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat", "statfs")
	s.hang(v, fs, 2)
	pastThreshold()
	tr := s.strace("-f", "-c", "--threshold=300ms", "-e", "trace=newfstatat,statfs", "-p", strconv.Itoa(v.PID))
	all := strings.Join(tr.stop(exitHung), "\n")
	for _, name := range []string{"newfstatat", "statfs"} {
		require.Regexp(t, `(?m)^ +0\.00 +0\.000000 +0 +0 +1 +>=\d+\.\d{3} `+name+`$`, all)
	}
	require.Regexp(t, `(?m) 0 +2 +>=\d+\.\d{3} total$`, all)
	require.NoError(t, fs.Thaw())
}

// TestStraceStacks shows where a blocked thread is, in the kernel and in its
// program.
func TestStraceStacks(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat")
	s.hang(v, fs, 1)
	tr := s.strace("-f", "-k", "--threshold=1h", "-e", "trace=newfstatat", "-p", strconv.Itoa(v.PID))
	all := strings.Join(tr.stop(exitOK), "\n")
	require.Regexp(t, `newfstatat\(AT_FDCWD, ".*",  <unfinished \.\.\.> <for at least .*>\n(?:\d+ +)? > request_wait_answer\+0x[0-9a-f]+`, all)
	require.Contains(t, all, "victim.allOps")
	require.NoError(t, fs.Thaw())
}

// TestStraceRing says nothing until a call lasts, and then what came before.
func TestStraceRing(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	p := s.hidden("statter", wordRepeat, file(fs))
	tr := s.strace("-f", "--ring=5", "--threshold=400ms", "-e", "trace=newfstatat", "-p", strconv.Itoa(p.PID))
	for range 10 {
		p.say("go")
		p.line()
	}
	time.Sleep(500 * time.Millisecond)
	require.NotContains(t, tr.text(), file(fs))
	require.NoError(t, fs.Freeze())
	p.say("go")
	s.held(fs)
	tr.says(`newfstatat\(AT_FDCWD, "` + regexp.QuoteMeta(file(fs)) + `",  <unfinished \.\.\.> <for 0\.[4-9]`)
	text := tr.text()
	require.Regexp(t, `^hangtrace: the last 5 calls of thread \d+:\n(\d+ +newfstatat\(.*\) += 0\n){5}\d+ +newfstatat\(.* <for 0\.\d+>\n$`, text)
	require.NoError(t, fs.Thaw())
	p.line()
	tr.says(`newfstatat\(AT_FDCWD, "` + regexp.QuoteMeta(file(fs)) + `", \{st_mode=.*\) += 0`)
	tr.stop(exitOK)
}

// TestReplayOfStraceIsTheSession wants the same bytes from a recording.
func TestReplayOfStraceIsTheSession(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat", "read")
	s.hang(v, fs, 2)
	pastThreshold()
	p := s.hidden("statter", wordRepeat, s.Dir)
	rec := filepath.Join(s.Dir, "strace.rec.gz")
	tr := s.strace("-f", "-yy", "-k", "-tt", "-T", "--threshold=300ms", "--record", rec, "-p", strconv.Itoa(v.PID), "-p", strconv.Itoa(p.PID))
	for range 5 {
		p.say("go")
		p.line()
	}
	tr.stop(exitHung)
	require.NoError(t, fs.Thaw())
	again := tool(t, s.Sandbox, exitHung, "replay", rec)
	require.Equal(t, tr.text(), again.stdout.String())
	require.Contains(t, again.stderr.String(), "calls traced, none lost")

	text, err := os.ReadFile(rec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(rec, text[:len(text)*2/3], 0o600))
	cut := tool(t, s.Sandbox, exitFailure, "replay", rec)
	require.True(t, strings.HasPrefix(tr.text(), cut.stdout.String()))
	require.Contains(t, cut.stderr.String(), "recording cut off")
}
