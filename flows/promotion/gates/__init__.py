"""Gates: what a challenger must show before it becomes the champion. Pure functions of evidence."""
