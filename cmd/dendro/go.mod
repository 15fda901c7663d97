module github.com/dendrotrace/dendro/cmd/dendro

go 1.26.0

require (
	github.com/dendrotrace/dendro v0.0.0
	github.com/klauspost/compress v1.20.4
)

require (
	github.com/klauspost/compress v1.20.4 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/dendrotrace/dendro => ../..
