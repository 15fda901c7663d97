module github.com/dendrotrace/dendro

go 1.25.0
