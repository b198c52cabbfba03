"""What the laws of test_properties*.py draw from: sizes, values, memory layouts, and a row per layer and loss."""
