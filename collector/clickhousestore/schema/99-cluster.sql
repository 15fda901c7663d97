CREATE TABLE IF NOT EXISTS {{distributed_traces}} {{on_cluster}} AS {{traces}}
ENGINE = Distributed({{shards_traces}}, cityHash64(TraceId));
CREATE TABLE IF NOT EXISTS {{distributed_trace_id_ts}} {{on_cluster}} AS {{trace_id_ts}}
ENGINE = Distributed({{shards_trace_id_ts}}, cityHash64(TraceId));
CREATE TABLE IF NOT EXISTS {{distributed_operations}} {{on_cluster}} AS {{operations}}
ENGINE = Distributed({{shards_operations}});
CREATE TABLE IF NOT EXISTS {{distributed_edges}} {{on_cluster}} AS {{edges}}
ENGINE = Distributed({{shards_edges}});
CREATE TABLE IF NOT EXISTS {{distributed_calls}} {{on_cluster}} AS {{calls}}
ENGINE = Distributed({{shards_calls}});
CREATE TABLE IF NOT EXISTS {{distributed_answers}} {{on_cluster}} AS {{answers}}
ENGINE = Distributed({{shards_answers}})
