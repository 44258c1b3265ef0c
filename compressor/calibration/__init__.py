"""What layers read and return on images, and the linear layer that fits it best."""
