"""
Choosing a threshold
====================

Above a threshold where the model holds, the mean excess is a line, and shape and modified scale stay where they are.
"""

from evtkit import demo, plot
from evtkit.threshold import suggest_threshold

_, loss = demo.daily_losses()
choice = suggest_threshold(loss)
print(f"sequential tests suggest {choice.threshold:.2f} %, with {choice.n_excess} excesses")

# %%
# The picture shows what the tests have seen.

figure = plot.threshold_choice(loss, marked=choice.threshold, label="daily loss", unit="%")
