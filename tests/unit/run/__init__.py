"""What people run the bridge with: units, image, manifests; looked at as files. tests/image runs them."""
