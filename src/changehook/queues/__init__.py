"""What carries deliveries, one module for each engine; none of them sends."""
