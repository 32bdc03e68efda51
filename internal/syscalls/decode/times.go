package decode

import (
	"fmt"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// timeShower gives the function for structures of time.
func timeShower(s syscalls.Struct) showFunc {
	switch s {
	case syscalls.StructTimespec:
		return sized(16, timespec)
	case syscalls.StructTimespec32:
		return sized(8, timespec32)
	case syscalls.StructTimespecs:
		return showUtimes(16, timespec)
	case syscalls.StructTimespecs32:
		return showUtimes(8, timespec32)
	case syscalls.StructTimeval:
		return sizedLong(2, timeval)
	case syscalls.StructTimevals:
		return showTimevals
	case syscalls.StructUtimbuf:
		return showUtimbuf
	case syscalls.StructTimezone:
		return sized(8, func(v view) string {
			return fields("tz_minuteswest="+itoa(int64(int32(v.u32(0)))), "tz_dsttime="+itoa(int64(int32(v.u32(4)))))
		})
	case syscalls.StructItimerspec:
		return sized(32, func(v view) string {
			return fields("it_interval="+timespec(v), "it_value="+timespec(v.from(16)))
		})
	case syscalls.StructItimerval:
		return sizedLong(4, func(v view) string {
			return fields("it_interval="+timeval(v), "it_value="+timeval(v.from(2*v.long)))
		})
	case syscalls.StructTimeT:
		return func(d *decoder, v value) (string, bool) {
			w, ok := d.view(v, d.bits/8)
			return "[" + itoa(w.slong(0)) + d.when(w.slong(0), 0, 0) + "]", ok
		}
	case syscalls.StructTimex:
		return showTimex
	case syscalls.StructTms:
		return sizedLong(4, func(v view) string {
			return fields("tms_utime="+ticks(v.ulong(0)), "tms_stime="+ticks(v.ulong(1)),
				"tms_cutime="+ticks(v.ulong(2)), "tms_cstime="+ticks(v.ulong(3)))
		})
	}
	return nil
}

// sized makes a function for a structure of n bytes.
func sized(n int, text func(view) string) showFunc {
	return func(d *decoder, v value) (string, bool) {
		w, ok := d.view(v, n)
		if !ok {
			return "", false
		}
		return text(w), true
	}
}

// sizedLong makes a function for a structure of n longs.
func sizedLong(n int, text func(view) string) showFunc {
	return func(d *decoder, v value) (string, bool) {
		return sized(n*d.bits/8, text)(d, v)
	}
}

func timespec(v view) string {
	return fields("tv_sec="+itoa(int64(v.u64(0))), "tv_nsec="+itoa(int64(v.u64(8))))
}

func timespec32(v view) string {
	return fields("tv_sec="+itoa(int64(int32(v.u32(0)))), "tv_nsec="+itoa(int64(int32(v.u32(4)))))
}

func timeval(v view) string {
	return fields("tv_sec="+itoa(v.slong(0)), "tv_usec="+itoa(v.slong(1)))
}

// Values of tv_nsec that are no times (linux/stat.h).
const (
	utimeNow  = 1<<30 - 1
	utimeOmit = 1<<30 - 2
)

// showUtimes shows the access and modification times of utimensat.
func showUtimes(size int, text func(view) string) showFunc {
	return func(d *decoder, v value) (string, bool) {
		return d.array(v, 2, size, func(w view) (string, bool) {
			sec, nsec := int64(w.u64(0)), int64(w.u64(8))
			if size == 8 {
				sec, nsec = int64(int32(w.u32(0))), int64(int32(w.u32(4)))
			}
			switch nsec {
			case utimeNow:
				return "UTIME_NOW", true
			case utimeOmit:
				return "UTIME_OMIT", true
			}
			return text(w) + d.when(sec, nsec, 9), true
		})
	}
}

func showTimevals(d *decoder, v value) (string, bool) {
	return d.array(v, 2, 2*d.bits/8, func(w view) (string, bool) {
		return timeval(w) + d.when(w.slong(0), w.slong(1)*1000, 6), true
	})
}

func showUtimbuf(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 2*d.bits/8)
	if !ok {
		return "", false
	}
	return fields("actime="+itoa(w.slong(0))+d.when(w.slong(0), 0, 0),
		"modtime="+itoa(w.slong(1))+d.when(w.slong(1), 0, 0)), true
}

// when shows a time as a comment, as strace does where a time is a date.
func (d *decoder) when(sec, nsec int64, digits int) string {
	const lastYear = 253402300800 // 10000-01-01: what time.Time still formats
	if sec == 0 && nsec == 0 || nsec < 0 || nsec >= 1e9 || sec < -lastYear || sec >= lastYear {
		return ""
	}
	loc := d.o.Location
	if loc == nil {
		loc = time.UTC
	}
	t := time.Unix(sec, nsec).In(loc)
	s := t.Format("2006-01-02T15:04:05")
	if nsec != 0 && digits > 0 {
		s += fmt.Sprintf(".%0*d", digits, scale(nsec, digits))
	}
	return " /* " + s + t.Format("-0700") + " */"
}

func scale(nsec int64, digits int) int64 {
	if digits == 6 {
		return nsec / 1000
	}
	return nsec
}

// date shows seconds since 1970 as a date.
func (d *decoder) date(sec int64) string {
	s := strings.TrimSuffix(strings.TrimPrefix(d.when(sec, 0, 0), " /* "), " */")
	return s
}

// showTimex shows what adjtimex says of the clock: of 64-bit programs.
func showTimex(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, timexSize)
	if !ok {
		return "", false
	}
	num := func(name string, off int) string { return name + "=" + itoa(int64(w.u64(off))) }
	return fields("modes="+d.flags(syscalls.SetAdjtimexModes, uint64(w.u32(0))),
		num("offset", 8), num("freq", 16), num("maxerror", 24), num("esterror", 32),
		"status="+d.flags(syscalls.SetAdjtimexStatus, uint64(w.u32(40))),
		num("constant", 48), num("precision", 56), num("tolerance", 64), "time="+timeval(w.from(72)), num("tick", 88),
		num("ppsfreq", 96), num("jitter", 104), "shift="+itoa(int64(int32(w.u32(112)))), num("stabil", 120),
		num("jitcnt", 128), num("calcnt", 136), num("errcnt", 144), num("stbcnt", 152), "tai="+itoa(int64(int32(w.u32(160))))), true
}

const timexSize = 208
