# SPDX-License-Identifier: Apache-2.0
"""Plain data in; text, charts and pages out: no computing here."""

from convsmith.report.analysis import analyses as analyses
from convsmith.report.analysis import analysis as analysis
from convsmith.report.analysis_page import analyses_page as analyses_page
from convsmith.report.analysis_page import analysis_page as analysis_page
from convsmith.report.comparison import comparison as comparison
from convsmith.report.comparison import comparison_chart as comparison_chart
from convsmith.report.optimization import optimization as optimization
from convsmith.report.pictures import Picture as Picture
from convsmith.report.pictures import Pictures as Pictures
from convsmith.report.pictures import fitted as fitted
from convsmith.report.ratio_chart import Bar as Bar
from convsmith.report.ratio_chart import ratio_chart as ratio_chart
from convsmith.report.tables import table as table
