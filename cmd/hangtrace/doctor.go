package main

import (
	"github.com/urfave/cli/v2"
)

func doctorCommand() *cli.Command {
	return &cli.Command{Name: "doctor", Usage: "what this node and these rights allow", Action: func(*cli.Context) error { return nil }}
}
