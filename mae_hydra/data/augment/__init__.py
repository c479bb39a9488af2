"""Random crops, flips and colours: on the CPU, or on the device that trains."""
