package agent

import "os"

// terminate asks a server to save and end.
var terminate = os.Interrupt
