module goprog

go 1.18
