package loom

// Version is the version of this module and of the server it was made with.
const Version = "0.1.0"
