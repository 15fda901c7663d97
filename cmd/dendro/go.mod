module github.com/dendrotrace/dendro/cmd/dendro

go 1.25.0

require github.com/dendrotrace/dendro v0.0.0

replace github.com/dendrotrace/dendro => ../..
