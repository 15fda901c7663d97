ALTER TABLE {{traces}} {{on_cluster}} MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE {{trace_id_ts}} {{on_cluster}} MODIFY SETTING non_replicated_deduplication_window = 1000
