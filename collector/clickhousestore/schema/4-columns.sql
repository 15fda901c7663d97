ALTER TABLE {{traces}} {{on_cluster}}
    ADD COLUMN IF NOT EXISTS DendroFlags UInt32 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroTypes LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroResource LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroScope LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroSpan String CODEC(ZSTD(1))
