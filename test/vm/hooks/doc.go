// Package hooks measures what a call of the kernel costs with an empty program on
// each kind of hook, on other kernels, in instructions.
package hooks
