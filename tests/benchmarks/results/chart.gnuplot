set terminal svg size 900,780 font 'sans-serif,13' background rgb 'white'
set output 'chart.svg'
set title 'Time over the limit that memory sets (f32, 2 threads)'
set xlabel 'multiple of the limit; shorter is better' offset 0,0.6
set rmargin 12
set key below center horizontal samplen 2
set logscale x 2
set xrange [0.5:*]
set yrange [21:-1]
set grid xtics lc rgb '#d0d0d0' lt 1
set border 2
set tics nomirror scale 0
set style fill solid noborder
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'
set ytics ('infer  nchw 32x256x56x56' 0, 'infer  nchw 32x2048x7x7' 1, 'infer  nhwc 32x512x28x28' 2, 'infer  nhwc 1x64x112x112' 3, 'infer  nc 64x512' 4, 'infer  nc 1024x1024' 5, 'infer  nc 16384x512' 6, 'train  nchw 32x256x56x56' 7, 'train  nchw 32x2048x7x7' 8, 'train  nhwc 32x512x28x28' 9, 'train  nhwc 1x64x112x112' 10, 'train  nc 64x512' 11, 'train  nc 1024x1024' 12, 'train  nc 16384x512' 13, 'backward  nchw 32x256x56x56' 14, 'backward  nchw 32x2048x7x7' 15, 'backward  nhwc 32x512x28x28' 16, 'backward  nhwc 1x64x112x112' 17, 'backward  nc 64x512' 18, 'backward  nc 1024x1024' 19, 'backward  nc 16384x512' 20)
$rows << end_of_rows
0 0.995812 1.60459 "1.00" "1.60 libtorch"
1 1.61071 2.52073 "1.61" "2.52 libtorch"
2 1.03529 1.21812 "1.04" "1.22 oneDNN"
3 1.14204 3.07895 "1.14" "3.08 libtorch"
4 1.29433 3.54508 "1.29" "3.55 oneDNN*"
5 1.21216 2.9567 "1.21" "2.96 libtorch"
6 1.02677 1.16794 "1.03" "1.17 oneDNN*"
7 3.05546 8.61013 "3.06" "8.61 libtorch"
8 3.18769 13.5984 "3.19" "13.60 libtorch"
9 1.36697 1.57677 "1.37" "1.58 libtorch"
10 1.67148 2.81428 "1.67" "2.81 oneDNN"
11 9.55207 4.1304 "9.55" "4.13 oneDNN*"
12 4.27047 2.79684 "4.27" "2.80 libtorch"
13 1.33587 1.70578 "1.34" "1.71 libtorch"
14 0.814701 1.16413 "0.81" "1.16 libtorch"
15 3.70221 5.75723 "3.70" "5.76 libtorch"
16 1.53715 1.42477 "1.54" "1.42 libtorch"
17 1.32037 2.322 "1.32" "2.32 libtorch"
18 7.82019 4.59737 "7.82" "4.60 oneDNN*"
19 2.95446 2.45032 "2.95" "2.45 libtorch"
20 1.79427 1.71462 "1.79" "1.71 libtorch"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
