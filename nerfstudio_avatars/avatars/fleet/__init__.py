"""Many subjects: each is a job whose commands run in processes of their own, on one machine or on many."""
