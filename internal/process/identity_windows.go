package process

import "fmt"

// Trees are jobs here, which the system kills by itself: their record is kept for people alone.
func identity(pid int) string { return fmt.Sprintf("job/%d", pid) }

func bootID() string { return "" }

func groupAlive(int) bool { return false }
