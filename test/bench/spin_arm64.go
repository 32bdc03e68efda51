package main

import "golang.org/x/sys/unix"

const sysStat = unix.SYS_FSTATAT
