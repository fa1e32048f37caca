"""
A level with its interval
=========================

A share's daily losses: what comes once in ten years, and how sure is that? The prices ship with Matplotlib.
"""

from evtkit import demo, fit_tail, plot

days, loss = demo.daily_losses()
tail = fit_tail(loss, threshold=2.0)
print(tail)

# %%
# The textbook's return level, with limits of the profile likelihood, and the probability that the next day is worse
# than the worst one so far, with the uncertainty of the fit averaged in.

print(tail.return_level([252, 2520], interval=0.95).to_frame())
print(f"P(X > {loss.max():.1f} %) = {tail.sf(loss.max()):.2g}")

# %%
# Does the fit describe the data? Points in the bands agree with it.

figure = plot.diagnostics(tail, label="daily loss", unit="%", per=252.0, period_unit="years")
