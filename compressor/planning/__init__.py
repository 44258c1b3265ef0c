"""From scores or kept sets and a budget to the channels that stay."""
