package record

import (
	"compress/flate"
	"compress/gzip"
	"errors"
)

// corrupt tells whether an error comes from the compressed bytes rather than
// from the reader below.
func corrupt(err error) bool {
	var input flate.CorruptInputError
	return errors.As(err, &input) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader)
}
