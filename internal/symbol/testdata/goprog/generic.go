//go:build go1.18
// +build go1.18

package main

func init() {
	scenes["generic"] = func(s *seat) { generic[int, string](s, 1, "x") }
	scenes["genericMethod"] = func(s *seat) { box[*seat]{s}.hold(s) }
}

//go:noinline
func generic[A, B any](s *seat, a A, b B) (A, B) {
	func() { s.block() }()
	return a, b
}

type box[T any] struct{ v T }

//go:noinline
func (b box[T]) hold(s *seat) { generic[T, T](s, b.v, b.v) }
