package transport

// socketErrorType returns "": the errors of Plan 9 are strings.
func socketErrorType(error) string { return "" }
