package correlate

import (
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// indexOf keeps an index of a list of facts for the next question about the same
// list, which only grows meanwhile. It holds the list, so that its address is
// no other's.
type indexOf[E, I any] struct {
	first *E
	n     int
	index I
}

func (x *indexOf[E, I]) of(list []E, make func([]E) I) I {
	if len(list) == 0 {
		return make(nil)
	}
	if x.first != &list[0] || x.n != len(list) {
		*x = indexOf[E, I]{&list[0], len(list), make(list)}
	}
	return x.index
}

// indexed are the lists that may be long.
type indexed struct {
	strings indexOf[facts.UserString, map[stringKey]*facts.UserString]
	tables  indexOf[facts.MountTable, *mounts.History]
	devices indexOf[facts.BlockDevice, mounts.Blocks] // what tables was made with
	files   indexOf[facts.Pass, filesOf]
}

func (x *indexed) stringsOf(list []facts.UserString) map[stringKey]*facts.UserString {
	return x.strings.of(list, func(list []facts.UserString) map[stringKey]*facts.UserString {
		index := make(map[stringKey]*facts.UserString, len(list))
		for i := range list {
			index[stringKey{list[i].PID, list[i].Addr}] = &list[i]
		}
		return index
	})
}

// historyOf makes mount tables answer. A malformed table is no reason to lose a
// hang: what parsed is used.
func (x *indexed) historyOf(snap *facts.Snapshot) (mounts.Blocks, *mounts.History) {
	before, n := x.devices.first, x.devices.n
	blocks := x.devices.of(snap.Blocks, mounts.NewBlocks)
	if x.devices.first != before || x.devices.n != n {
		x.tables = indexOf[facts.MountTable, *mounts.History]{}
	}
	return blocks, x.tables.of(snap.Mounts, func(list []facts.MountTable) *mounts.History {
		h, _ := mounts.HistoryOf(list, blocks)
		if h == nil {
			h = mounts.NewHistory()
		}
		return h
	})
}

type filesOf struct {
	byFD map[fdKey]*events.File
	err  error
}

func (x *indexed) filesOf(passes []facts.Pass) (map[fdKey]*events.File, error) {
	got := x.files.of(passes, func(passes []facts.Pass) filesOf {
		f := filesOf{byFD: make(map[fdKey]*events.File)}
		for _, pass := range passes {
			var files []events.File
			if files, f.err = events.DecodeFiles(pass); f.err != nil {
				break
			}
			for i := range files {
				f.byFD[fdKey{files[i].PID, files[i].FD}] = &files[i]
			}
		}
		return f
	})
	return got.byFD, got.err
}
