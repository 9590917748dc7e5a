"""What has the work of a run done: this process, or others on several machines."""
