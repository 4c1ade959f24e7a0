"""How one run is spread over processes: layout, DeepSpeed, launching."""
