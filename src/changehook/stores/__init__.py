"""Where deliveries are kept, one module for each kind of store."""
