module cgoprog

go 1.18
